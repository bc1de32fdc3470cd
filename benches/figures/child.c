/* child.c: what every supervisor of the benches runs. Its first instruction takes the time.
 *
 *   child wait FILE            appends "PID NANOSECONDS\n" to FILE (CLOCK_MONOTONIC), then waits for a signal
 *   child flood FILE LINES     appends the same, writes LINES numbered lines of 100 bytes in blocks of 40, ends with 0
 *   child tick FILE MICROS     appends the same, then writes one numbered line of 20 bytes every MICROS microseconds
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 100, LINES = 40, TICK = 20 };

static void put(const char *at, size_t left) {
    while (left > 0) {
        ssize_t n = write(1, at, left);
        if (n <= 0) _exit(1);
        at += n;
        left -= (size_t)n;
    }
}

/* the number in decimal, right-aligned in `width` places with zeros in front */
static void number(char *at, int width, unsigned long long n) {
    for (int i = width - 1; i >= 0; i--, n /= 10) at[i] = (char)('0' + n % 10);
}

int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (argc < 3) return 2;
    char stamp[64];
    int n = snprintf(stamp, sizeof stamp, "%d %lld\n", (int)getpid(), now.tv_sec * 1000000000LL + now.tv_nsec);
    int fd = open(argv[2], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, stamp, (size_t)n) != n) return 3;
    close(fd);
    if (strcmp(argv[1], "wait") == 0)
        for (;;) pause();
    if (argc < 4) return 2;
    unsigned long long many = strtoull(argv[3], NULL, 10);
    if (strcmp(argv[1], "flood") == 0) {
        static char block[LINE * LINES];
        memset(block, '.', sizeof block);
        for (int i = 0; i < LINES; i++) block[i * LINE + LINE - 1] = '\n';
        for (unsigned long long at = 0; at < many;) {
            int in = many - at < LINES ? (int)(many - at) : LINES;
            for (int i = 0; i < in; i++) number(block + i * LINE, 12, at++);
            put(block, (size_t)in * LINE);
        }
        return 0;
    }
    if (strcmp(argv[1], "tick") == 0) {
        struct timespec pause_for = {.tv_sec = 0, .tv_nsec = (long)many * 1000};
        char line[TICK];
        memset(line, '.', sizeof line);
        line[TICK - 1] = '\n';
        for (unsigned long long at = 0;; at++) {
            number(line, 12, at);
            put(line, TICK);
            nanosleep(&pause_for, NULL);
        }
    }
    return 2;
}
