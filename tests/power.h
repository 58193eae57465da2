/*
 * What a disk would hold after a loss of power: replays a journal of tests/fault.so (fault.h) up to any point.
 *
 * Only what was synced is sure: of a file what stood in the journal when an fsync or fdatasync of it began that has
 * returned; of names (making, renaming, unlinking) what an fsync of their folder covers in the same way. All else may or may not
 * have reached the disk, in any order. Writes last by sectors of 512 bytes, and spare the bytes around them.
 *
 * The recorded folder has to be empty when the journal begins. What goes wrong here ends the program.
 */
#ifndef TESTS_POWER_H
#define TESTS_POWER_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct power_journal;

/* Reads all whole records; the last one may be cut off. */
struct power_journal *power_open(const char *path);
void power_close(struct power_journal *journal);
size_t power_count(const struct power_journal *journal);

/*
 * Makes in `dir`, which is there and empty, what is left when the power goes once `count` records stand in the journal.
 * Chance 0: nothing that was not synced. Any other: for each file and each folder all of its unsynced changes, none, the
 * first few, or any of them, as the number decides; and the last write of a file may be torn.
 */
void power_replay(const struct power_journal *journal, size_t count, uint64_t chance, const char *dir);

/* Prints records, a line each, for whoever looks for the cause of a failure. */
void power_print(const struct power_journal *journal, size_t from, size_t count, FILE *to);

#endif
