/*
 * What tests/net.so does to a process that it is preloaded into: a net that leads nowhere but to this machine.
 *
 * The library steps between the process and the C library's calls on sockets, so that the daemon may be tested as it is used: with its
 * usual rules, against addresses of the wide world, without a packet that leaves.
 *
 * - A connection to an address of $NET_MAP is made to a port of 127.0.0.1 instead. The process does not notice. The map is
 *   words with blanks between, "ADDRESS=PORT" (each port of that address leads to PORT); "*" stands for every address but the loopback ones.
 * - Any other connection, and any datagram, to what is no loopback address fails with ENETUNREACH.
 * - $NET_LOG gets a line for each: "mapped 93.184.216.34:80", "refused 10.0.0.1:80", "loopback 127.0.0.1:8080",
 *   "unix /run/x". Datagrams to loopback and sockets of UDP that are merely connected are left out.
 */
#ifndef TESTS_NET_H
#define TESTS_NET_H

#endif
