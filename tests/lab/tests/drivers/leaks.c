/* It forgets a block of pool, and refuses to start with -DREFUSES. */
#include <ntddk.h>

static VOID NTAPI unload(PDRIVER_OBJECT driver)
{
    (void)driver;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    (void)path;
#ifdef REFUSES
    return STATUS_DEVICE_NOT_READY;
#endif
    driver->DriverUnload = unload;
    return ExAllocatePoolWithTag(512 /* NonPagedPoolNx */, 100, 'kaeL') ? STATUS_SUCCESS : STATUS_NO_MEMORY;
}
