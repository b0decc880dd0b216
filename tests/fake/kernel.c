/* A kernel's own source for the host; KERNEL_FILE is its path in quotation marks. */
#include "dev_host.h"
#include KERNEL_FILE
