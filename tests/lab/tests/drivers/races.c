/* Its work item completes a request that its cancel routine may be completing: it looks at Cancel, not at the cancel routine. */
#include <ntddk.h>

struct item {
    PIO_WORKITEM work;
    PIRP irp;
};

static UNICODE_STRING link = RTL_CONSTANT_STRING(L"\\??\\Races");

static NTSTATUS complete(PIRP irp, NTSTATUS status)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = 0;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static NTSTATUS NTAPI succeed(PDEVICE_OBJECT device, PIRP irp)
{
    (void)device;
    return complete(irp, STATUS_SUCCESS);
}

static VOID NTAPI cancel(PDEVICE_OBJECT device, PIRP irp)
{
    (void)device;
    IoReleaseCancelSpinLock(irp->CancelIrql);
    complete(irp, STATUS_CANCELLED);
}

static VOID NTAPI work(PDEVICE_OBJECT device, PVOID context)
{
    struct item *item = context;
    PIRP irp = item->irp;
    (void)device;
    if (!irp->Cancel) {
        IoFreeWorkItem(item->work);
        ExFreePoolWithTag(item, 'ecaR');
        IoSetCancelRoutine(irp, NULL); /* wrong: when it was NULL already, the cancel routine has the request */
        complete(irp, STATUS_SUCCESS);
        return;
    }
    IoFreeWorkItem(item->work);
    ExFreePoolWithTag(item, 'ecaR');
}

static NTSTATUS NTAPI request(PDEVICE_OBJECT device, PIRP irp)
{
    struct item *item = ExAllocatePoolWithTag(512 /* NonPagedPoolNx */, sizeof *item, 'ecaR');
    item->work = IoAllocateWorkItem(device);
    item->irp = irp;
    IoMarkIrpPending(irp);
    IoSetCancelRoutine(irp, cancel);
    if (irp->Cancel && IoSetCancelRoutine(irp, NULL)) {
        IoFreeWorkItem(item->work);
        ExFreePoolWithTag(item, 'ecaR');
        complete(irp, STATUS_CANCELLED);
        return STATUS_PENDING;
    }
    IoQueueWorkItem(item->work, work, DelayedWorkQueue, item);
    return STATUS_PENDING;
}

static VOID NTAPI unload(PDRIVER_OBJECT driver)
{
    IoDeleteSymbolicLink(&link);
    IoDeleteDevice(driver->DeviceObject);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Device\\Races");
    PDEVICE_OBJECT device;
    NTSTATUS status = IoCreateDevice(driver, 0, &name, 0x8000, 0, FALSE, &device);
    (void)path;
    if (!NT_SUCCESS(status))
        return status;
    IoCreateSymbolicLink(&link, &name);
    driver->DriverUnload = unload;
    driver->MajorFunction[IRP_MJ_CREATE] = succeed;
    driver->MajorFunction[IRP_MJ_CLEANUP] = succeed;
    driver->MajorFunction[IRP_MJ_CLOSE] = succeed;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = request;
    return STATUS_SUCCESS;
}
