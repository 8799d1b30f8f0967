/* ExAllocatePool2 for kernels that lack it (Wine 8): linked statically through a library that every WDM driver links
   anyway, so that the driver's own source calls the documented function everywhere. */
typedef unsigned long long u64;
typedef unsigned int u32;

#define POOL_FLAG_UNINITIALIZED 0x0000000000000002ULL
#define POOL_FLAG_PAGED 0x0000000000000100ULL

enum pool_type { PagedPool = 1, NonPagedPoolNx = 512 };

void *ExAllocatePoolWithTag(int type, u64 size, u32 tag);
void *memset(void *block, int value, u64 size);

void *ExAllocatePool2(u64 flags, u64 size, u32 tag)
{
    void *block = ExAllocatePoolWithTag(flags & POOL_FLAG_PAGED ? PagedPool : NonPagedPoolNx, size, tag);
    if (block && !(flags & POOL_FLAG_UNINITIALIZED))
        memset(block, 0, size);
    return block;
}
