/* It does not look whether it got memory: only low resources show it. */
#include <ntddk.h>

static PVOID block;

static VOID NTAPI unload(PDRIVER_OBJECT driver)
{
    (void)driver;
    ExFreePoolWithTag(block, 'kcoF');
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    (void)path;
    block = ExAllocatePoolWithTag(512 /* NonPagedPoolNx */, 64, 'kcoF');
    *(volatile ULONG *)block = 1;
    driver->DriverUnload = unload;
    return STATUS_SUCCESS;
}
