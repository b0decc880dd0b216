/* NVML, as far as the driver's version. $FAKE_NVML: that version; "none": it does not start. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEN __attribute__((visibility("default")))

SEEN int nvmlInit_v2(void);
SEEN int nvmlShutdown(void);
SEEN int nvmlSystemGetDriverVersion(char *text, unsigned size);

static const char *version(void)
{
    const char *text = getenv("FAKE_NVML");
    return text && *text ? text : "580.95.05";
}

int nvmlInit_v2(void)
{
    return strcmp(version(), "none") ? 0 : 9; /* the driver is not loaded */
}

int nvmlShutdown(void) { return 0; }

int nvmlSystemGetDriverVersion(char *text, unsigned size)
{
    return snprintf(text, size, "%s", version()) < (int)size ? 0 : 7;
}
