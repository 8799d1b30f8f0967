/* Has a routine in a PAGE section; with -DRAISES it is called at DISPATCH_LEVEL. */
#include <ntddk.h>

__attribute__((section("PAGE"), noinline)) static ULONG paged(ULONG value)
{
    return value * 3;
}

static VOID NTAPI unload(PDRIVER_OBJECT driver)
{
    (void)driver;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    KSPIN_LOCK lock;
    KIRQL before;
    ULONG sum = paged(1);
    (void)path;
    KeInitializeSpinLock(&lock);
    KeAcquireSpinLock(&lock, &before);
#ifdef RAISES
    sum += paged(2);
#endif
    KeReleaseSpinLock(&lock, before);
    sum += paged(3);
    driver->DriverUnload = unload;
    return sum ? STATUS_SUCCESS : STATUS_UNSUCCESSFUL;
}
