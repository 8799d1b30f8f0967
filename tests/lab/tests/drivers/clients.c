/* Imports what three public WSK clients import, and uses what no other driver here does: IP Helper, a device by its name,
 * well-known identifiers. */
#include <ntifs.h>

#define IMPORT(name) __declspec(dllimport) NTSTATUS NTAPI name()
#pragma GCC diagnostic ignored "-Wstrict-prototypes"

IMPORT(WskRegister);
IMPORT(WskDeregister);
IMPORT(WskCaptureProviderNPI);
IMPORT(WskReleaseProviderNPI);
IMPORT(GetBestRoute2);
IMPORT(GetIfEntry2);
IMPORT(GetIpForwardTable2);
IMPORT(GetIpInterfaceEntry);
IMPORT(NotifyRouteChange2);
IMPORT(CancelMibChangeNotify2);
IMPORT(FreeMibTable);
IMPORT(GetUnicastIpAddressTable);
IMPORT(NotifyIpInterfaceChange);

/* mingw's headers lack these. */
IMPORT(ExAcquireSpinLockExclusive);
IMPORT(ExAcquireSpinLockShared);
IMPORT(ExAcquireSpinLockSharedAtDpcLevel);
IMPORT(ExReleaseSpinLockExclusive);
IMPORT(ExReleaseSpinLockExclusiveFromDpcLevel);
IMPORT(ExReleaseSpinLockShared);

NTKERNELAPI NTSTATUS NTAPI IoWMIRegistrationControl(PDEVICE_OBJECT, ULONG);
DRIVER_INITIALIZE DriverEntry;

/* The addresses keep the imports. */
void *const echo_server[] = {
    ExAllocatePoolWithTag, ExFreePoolWithTag, ExpInterlockedFlushSList, ExpInterlockedPushEntrySList, InitializeSListHead,
    IoAllocateIrp, IoAllocateMdl, IoFreeIrp, IoFreeMdl, IoReuseIrp, IoWMIRegistrationControl, KeInitializeEvent,
    KeSetEvent, KeWaitForSingleObject, MmBuildMdlForNonPagedPool, MmGetSystemRoutineAddress, ObfDereferenceObject,
    ObReferenceObjectByHandle, PsCreateSystemThread, PsTerminateSystemThread, RtlInitUnicodeString, ZwClose, WskRegister,
    WskDeregister, WskCaptureProviderNPI, WskReleaseProviderNPI,
};
void *const ksocket[] = {
    DbgPrintEx, ExAllocatePoolWithTag, ExFreePoolWithTag, IoAllocateIrp, IoAllocateMdl, IoFreeIrp, IoFreeMdl, IoReuseIrp,
    KeInitializeEvent, KeResetEvent, KeSetEvent, KeWaitForSingleObject, MmProbeAndLockPages, MmUnlockPages,
    RtlAnsiStringToUnicodeString, RtlFreeAnsiString, RtlFreeUnicodeString, RtlInitAnsiString, RtlInitUnicodeString,
    RtlUnicodeStringToAnsiString, WskRegister, WskDeregister, WskCaptureProviderNPI, WskReleaseProviderNPI,
};
void *const wireguard_socket[] = {
    ExAcquireRundownProtection, ExReleaseRundownProtection, ExInitializeRundownProtection,
    ExWaitForRundownProtectionRelease, ExAcquireSpinLockExclusive, ExAcquireSpinLockShared,
    ExAcquireSpinLockSharedAtDpcLevel, ExReleaseSpinLockExclusive, ExReleaseSpinLockExclusiveFromDpcLevel,
    ExReleaseSpinLockShared, ExInitializeLookasideListEx, ExDeleteLookasideListEx, ExpInterlockedPopEntrySList,
    ExpInterlockedPushEntrySList, IoInitializeIrp, KeClearEvent, KeInitializeEvent, KeSetEvent, KeWaitForSingleObject,
    GetBestRoute2, GetIfEntry2, GetIpForwardTable2, GetIpInterfaceEntry, NotifyRouteChange2, CancelMibChangeNotify2,
    FreeMibTable, WskRegister, WskDeregister, WskCaptureProviderNPI, WskReleaseProviderNPI,
};

static LONG told;
static UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Device\\Clients");
static UNICODE_STRING link = RTL_CONSTANT_STRING(L"\\DosDevices\\Clients");

static VOID NTAPI changed(PVOID context, PVOID row, ULONG kind)
{
    (void)row;
    (void)kind;
    InterlockedIncrement((LONG *)context);
}

static NTSTATUS NTAPI complete(PDEVICE_OBJECT device, PIRP irp)
{
    (void)device;
    irp->IoStatus.Status = STATUS_SUCCESS;
    irp->IoStatus.Information = 0;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return STATUS_SUCCESS;
}

static VOID NTAPI unload(PDRIVER_OBJECT driver)
{
    IoDeleteSymbolicLink(&link);
    IoDeleteDevice(driver->DeviceObject);
}

static NTSTATUS use_addresses(void)
{
    ULONG *table;
    HANDLE notification;
    NTSTATUS status = GetUnicastIpAddressTable((USHORT)0, &table);
    if (!NT_SUCCESS(status))
        return status;
    DbgPrint("clients: %u addresses\n", *table);
    FreeMibTable(table);
    status = NotifyIpInterfaceChange((USHORT)0, changed, &told, (BOOLEAN)TRUE, &notification);
    if (!NT_SUCCESS(status))
        return status;
    DbgPrint("clients: told %d times\n", told);
    return CancelMibChangeNotify2(notification);
}

/* Opens the driver's own device. */
static NTSTATUS NTAPI control(PDEVICE_OBJECT device, PIRP irp)
{
    PFILE_OBJECT file;
    PDEVICE_OBJECT found;
    NTSTATUS status = IoGetDeviceObjectPointer(&name, FILE_READ_DATA, &file, &found);
    if (NT_SUCCESS(status)) {
        if (found != device)
            status = STATUS_UNSUCCESSFUL;
        ObDereferenceObject(file);
    }
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = 0;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    PDEVICE_OBJECT device;
    NTSTATUS status;
    (void)path;
    if (*(UCHAR *)SeExports->SeLocalSystemSid != SID_REVISION || !echo_server[0] || !ksocket[0] || !wireguard_socket[0])
        return STATUS_UNSUCCESSFUL;
    status = use_addresses();
    if (!NT_SUCCESS(status))
        return status;
    status = IoCreateDevice(driver, 0, &name, 0x8000, 0, FALSE, &device);
    if (!NT_SUCCESS(status))
        return status;
    status = IoCreateSymbolicLink(&link, &name);
    if (!NT_SUCCESS(status)) {
        IoDeleteDevice(device);
        return status;
    }
    driver->MajorFunction[IRP_MJ_CREATE] = complete;
    driver->MajorFunction[IRP_MJ_CLEANUP] = complete;
    driver->MajorFunction[IRP_MJ_CLOSE] = complete;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = control;
    driver->DriverUnload = unload;
    return STATUS_SUCCESS;
}
