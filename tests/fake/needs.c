/* A runtime whose library needs one of another wheel. */
__attribute__((visibility("default"))) int upz_test_neighbour(void);
__attribute__((visibility("default"))) int upz_test_needs(void);
int upz_test_needs(void) { return upz_test_neighbour(); }
