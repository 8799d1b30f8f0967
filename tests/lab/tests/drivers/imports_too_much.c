/* It imports what the lab does not have. */
#include <ntddk.h>

NTKERNELAPI VOID NTAPI HalReturnToFirmware(ULONG);


NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    (void)driver, (void)path;
    HalReturnToFirmware(0);
    KeDeregisterBugCheckReasonCallback(NULL);
    return STATUS_SUCCESS;
}
