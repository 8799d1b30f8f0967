/* Its entry point writes to memory that is not there. */
#include <ntddk.h>

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    (void)driver, (void)path;
    *(volatile ULONG *)16 = 1;
    return STATUS_SUCCESS;
}
