/* A test that cannot run here says why: tools/count_tests.py shows the line. */
#ifndef TEST_SKIP_H
#define TEST_SKIP_H

#define SKIP_BECAUSE(...)              \
    do {                               \
        print_message("SKIP: " __VA_ARGS__); \
        print_message("\n");           \
        skip();                        \
    } while (0)

#endif
