/* An ordinary program in C for WASI: nothing in it knows of zhost. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int count, char **arguments) {
    printf("I am %s\n", count > 0 ? arguments[0] : "nobody");
    const char *greeting = getenv("greeting");
    printf("I am told %s\n", greeting ? greeting : "nothing");
    struct timespec begin, end, pause = {0, 50 * 1000 * 1000};
    clock_gettime(CLOCK_MONOTONIC, &begin);
    nanosleep(&pause, NULL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    long long ns = (end.tv_sec - begin.tv_sec) * 1000000000LL + end.tv_nsec - begin.tv_nsec;
    fprintf(stderr, "it is 50 ms later: %s\n", ns >= 50 * 1000 * 1000 ? "true" : "false");
    printf("there are no files: %s\n", fopen("secret", "r") ? "false" : "true");
    return 0;
}
