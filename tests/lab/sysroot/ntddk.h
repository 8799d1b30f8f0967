/* mingw's ntddk.h, and what wdk-alloc calls that it predates. */
#pragma once
#include <ddk/ntddk.h>
typedef unsigned __int64 POOL_FLAGS;
void *ExAllocatePool2(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag);
