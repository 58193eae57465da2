/* To come. */
int main(void); int main(void) { return 77; }
