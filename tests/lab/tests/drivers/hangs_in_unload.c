/* Its unload routine never returns: it loops, or waits with -DWAITS. */
#include <ntddk.h>

static volatile LONG forever = 1;

static VOID NTAPI unload(PDRIVER_OBJECT driver)
{
    (void)driver;
#ifdef WAITS
    KEVENT event;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, NULL);
#else
    while (forever)
        continue;
#endif
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    (void)path;
    driver->DriverUnload = unload;
    return STATUS_SUCCESS;
}
