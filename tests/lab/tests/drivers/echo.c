/* A driver that keeps the rules: IOCTLs of three methods, read and write, a cancel-safe queue, a timer with a DPC, a remove
 * lock, a lookaside list, a parameter of its service. */
#include <ntddk.h>

#define TAG 'ohcE'
#define IOCTL_ECHO CTL_CODE(0x8000, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_FILL CTL_CODE(0x8000, 0x801, METHOD_OUT_DIRECT, FILE_ANY_ACCESS)
#define IOCTL_WAIT CTL_CODE(0x8000, 0x802, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_RELEASE CTL_CODE(0x8000, 0x803, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_NUMBER CTL_CODE(0x8000, 0x804, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_SETTLE CTL_CODE(0x8000, 0x805, METHOD_BUFFERED, FILE_ANY_ACCESS)

typedef struct {
    IO_CSQ queue;
    LIST_ENTRY waiting;
    KSPIN_LOCK lock;
    KTIMER timer;
    KDPC dpc;
    IO_REMOVE_LOCK removal;
    NPAGED_LOOKASIDE_LIST blocks;
    ULONG number;
    FAST_MUTEX mutex;
    ULONG kept;
    UCHAR memory[64];
} EXTENSION;

DRIVER_INITIALIZE DriverEntry;
static UNICODE_STRING link = RTL_CONSTANT_STRING(L"\\DosDevices\\Echo");

static VOID insert(PIO_CSQ queue, PIRP irp)
{
    InsertTailList(&CONTAINING_RECORD(queue, EXTENSION, queue)->waiting, &irp->Tail.Overlay.ListEntry);
}

static VOID take(PIO_CSQ queue, PIRP irp)
{
    (void)queue;
    RemoveEntryList(&irp->Tail.Overlay.ListEntry);
}

static PIRP peek(PIO_CSQ queue, PIRP irp, PVOID context)
{
    LIST_ENTRY *head = &CONTAINING_RECORD(queue, EXTENSION, queue)->waiting;
    LIST_ENTRY *next = irp ? irp->Tail.Overlay.ListEntry.Flink : head->Flink;
    (void)context;
    return next == head ? NULL : CONTAINING_RECORD(next, IRP, Tail.Overlay.ListEntry);
}

static VOID lock(PIO_CSQ queue, PKIRQL irql)
{
    *irql = KeAcquireSpinLockRaiseToDpc(&CONTAINING_RECORD(queue, EXTENSION, queue)->lock);
}

static VOID unlock(PIO_CSQ queue, KIRQL irql)
{
    KeReleaseSpinLock(&CONTAINING_RECORD(queue, EXTENSION, queue)->lock, irql);
}

static NTSTATUS complete(PIRP irp, NTSTATUS status, ULONG_PTR information)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = information;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static VOID cancelled(PIO_CSQ queue, PIRP irp)
{
    (void)queue;
    complete(irp, STATUS_CANCELLED, 0);
}

/* Completes every request that waits. */
static VOID NTAPI tick(PKDPC dpc, PVOID context, PVOID a, PVOID b)
{
    EXTENSION *extension = context;
    PIRP irp;
    (void)dpc, (void)a, (void)b;
    while ((irp = IoCsqRemoveNextIrp(&extension->queue, NULL)) != NULL)
        complete(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS control(EXTENSION *extension, PIRP irp)
{
    IO_STACK_LOCATION *stack = IoGetCurrentIrpStackLocation(irp);
    ULONG in = stack->Parameters.DeviceIoControl.InputBufferLength;
    ULONG out = stack->Parameters.DeviceIoControl.OutputBufferLength;
    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case IOCTL_ECHO: {
        /* Through a block of the lookaside list, to use one. */
        UCHAR *block = ExAllocateFromNPagedLookasideList(&extension->blocks);
        ULONG length = in < out ? in : out;
        if (!block)
            return complete(irp, STATUS_INSUFFICIENT_RESOURCES, 0);
        if (length > 256)
            length = 256;
        RtlCopyMemory(block, irp->AssociatedIrp.SystemBuffer, length);
        RtlCopyMemory(irp->AssociatedIrp.SystemBuffer, block, length);
        ExFreeToNPagedLookasideList(&extension->blocks, block);
        return complete(irp, STATUS_SUCCESS, length);
    }
    case IOCTL_FILL: {
        PVOID memory;
        if (!irp->MdlAddress)
            return complete(irp, STATUS_BUFFER_TOO_SMALL, 0);
        memory = MmGetSystemAddressForMdlSafe(irp->MdlAddress, NormalPagePriority);
        if (!memory)
            return complete(irp, STATUS_INSUFFICIENT_RESOURCES, 0);
        RtlFillMemory(memory, out, 0x5a);
        return complete(irp, STATUS_SUCCESS, out);
    }
    case IOCTL_WAIT:
        IoCsqInsertIrp(&extension->queue, irp, NULL);
        return STATUS_PENDING;
    case IOCTL_RELEASE: {
        LARGE_INTEGER soon;
        soon.QuadPart = -10000; /* a millisecond */
        KeSetTimer(&extension->timer, soon, &extension->dpc);
        return complete(irp, STATUS_SUCCESS, 0);
    }
    case IOCTL_NUMBER:
        if (out < sizeof(ULONG))
            return complete(irp, STATUS_BUFFER_TOO_SMALL, 0);
        *(ULONG *)irp->AssociatedIrp.SystemBuffer = extension->number;
        return complete(irp, STATUS_SUCCESS, sizeof(ULONG));
    case IOCTL_SETTLE:
        /* From here on no release of before ends a request. */
        KeCancelTimer(&extension->timer);
        KeFlushQueuedDpcs();
        return complete(irp, STATUS_SUCCESS, 0);
    default:
        return complete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
}

/* A file of 64 bytes. */
static NTSTATUS transfer(EXTENSION *extension, PIRP irp, BOOLEAN write)
{
    IO_STACK_LOCATION *stack = IoGetCurrentIrpStackLocation(irp);
    ULONG length = stack->Parameters.Read.Length;
    LONGLONG offset = stack->Parameters.Read.ByteOffset.QuadPart;
    if (offset < 0 || offset >= (LONGLONG)sizeof(extension->memory))
        return complete(irp, STATUS_END_OF_FILE, 0);
    if (length > sizeof(extension->memory) - offset)
        length = (ULONG)(sizeof(extension->memory) - offset);
    ExAcquireFastMutex(&extension->mutex);
    if (write)
        RtlCopyMemory(extension->memory + offset, irp->AssociatedIrp.SystemBuffer, length);
    else
        RtlCopyMemory(irp->AssociatedIrp.SystemBuffer, extension->memory + offset, length);
    ExReleaseFastMutex(&extension->mutex);
    return complete(irp, STATUS_SUCCESS, length);
}

static NTSTATUS NTAPI dispatch(PDEVICE_OBJECT device, PIRP irp)
{
    EXTENSION *extension = device->DeviceExtension;
    NTSTATUS status = IoAcquireRemoveLock(&extension->removal, irp);
    if (!NT_SUCCESS(status))
        return complete(irp, status, 0);
    switch (IoGetCurrentIrpStackLocation(irp)->MajorFunction) {
    case IRP_MJ_DEVICE_CONTROL:
        status = control(extension, irp);
        break;
    case IRP_MJ_READ:
        status = transfer(extension, irp, FALSE);
        break;
    case IRP_MJ_WRITE:
        status = transfer(extension, irp, TRUE);
        break;
    default:
        status = complete(irp, STATUS_SUCCESS, 0);
    }
    IoReleaseRemoveLock(&extension->removal, irp);
    return status;
}

static VOID NTAPI unload(PDRIVER_OBJECT driver)
{
    EXTENSION *extension = driver->DeviceObject->DeviceExtension;
    IoDeleteSymbolicLink(&link);
    IoAcquireRemoveLock(&extension->removal, driver);
    IoReleaseRemoveLockAndWait(&extension->removal, driver);
    KeCancelTimer(&extension->timer);
    KeFlushQueuedDpcs();
    ExDeleteNPagedLookasideList(&extension->blocks);
    IoDeleteDevice(driver->DeviceObject);
}

/* The value Number of the service's Parameters key; zero if there is none. */
static ULONG parameter(PUNICODE_STRING path)
{
    UNICODE_STRING below = RTL_CONSTANT_STRING(L"\\Parameters"), name = RTL_CONSTANT_STRING(L"Number"), full;
    struct {
        KEY_VALUE_PARTIAL_INFORMATION head;
        UCHAR rest[16];
    } value;
    OBJECT_ATTRIBUTES attributes;
    ULONG number = 0, size;
    HANDLE key;
    full.Length = 0;
    full.MaximumLength = path->Length + below.Length;
    full.Buffer = ExAllocatePoolWithTag(PagedPool, full.MaximumLength, TAG);
    if (!full.Buffer)
        return 0;
    RtlCopyUnicodeString(&full, path);
    RtlAppendUnicodeStringToString(&full, &below);
    InitializeObjectAttributes(&attributes, &full, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    if (NT_SUCCESS(ZwOpenKey(&key, KEY_READ, &attributes))) {
        if (NT_SUCCESS(ZwQueryValueKey(key, &name, KeyValuePartialInformation, &value, sizeof(value), &size)))
            number = *(ULONG *)value.head.Data;
        ZwClose(key);
    }
    ExFreePoolWithTag(full.Buffer, TAG);
    return number;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Device\\Echo");
    PDEVICE_OBJECT device;
    EXTENSION *extension;
    NTSTATUS status = IoCreateDevice(driver, sizeof(EXTENSION), &name, 0x8000, 0, FALSE, &device);
    ULONG index;
    if (!NT_SUCCESS(status))
        return status;
    extension = device->DeviceExtension;
    extension->number = parameter(path);
    KeInitializeSpinLock(&extension->lock);
    InitializeListHead(&extension->waiting);
    ExInitializeFastMutex(&extension->mutex);
    KeInitializeTimer(&extension->timer);
    KeInitializeDpc(&extension->dpc, tick, extension);
    IoInitializeRemoveLock(&extension->removal, TAG, 0, 0);
    IoCsqInitialize(&extension->queue, insert, take, peek, lock, unlock, cancelled);
    status = IoCreateSymbolicLink(&link, &name);
    if (!NT_SUCCESS(status)) {
        IoDeleteDevice(device);
        return status;
    }
    ExInitializeNPagedLookasideList(&extension->blocks, NULL, NULL, 512 /* POOL_NX_ALLOCATION */, 256, TAG, 0);
    for (index = 0; index <= IRP_MJ_MAXIMUM_FUNCTION; index++)
        driver->MajorFunction[index] = dispatch;
    driver->DriverUnload = unload;
    device->Flags |= DO_BUFFERED_IO;
    DbgPrint("echo: number %u, '%-4s|%04x'\n", extension->number, "ab", 0x2a);
    return STATUS_SUCCESS;
}
