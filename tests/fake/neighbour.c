/* A library that another wheel would bring. */
__attribute__((visibility("default"))) int upz_test_neighbour(void);
int upz_test_neighbour(void) { return 42; }
