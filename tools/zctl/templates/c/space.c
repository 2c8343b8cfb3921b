/* Says hello, and then the processor load, every second. */

#include "zspace.h"

#define SAY(text) sys_log(ZSPACE_INFO, text, sizeof(text) - 1)

ZSPACE_EXPORT(on_init) int32_t on_init(void) {
    SAY("hello from C");
    return 0;
}

ZSPACE_EXPORT(on_process) int32_t on_process(void) {
    char reading[256];
    int32_t size = sensors_read("cpu", 3, reading, sizeof reading);
    if (size < 0) {
        SAY("no cpu");
    } else {
        sys_log(ZSPACE_INFO, reading, (size_t)size);
    }
    sys_sleep(1000);
    return 0;
}
