/* wsk.h includes mswsock.h and needs nothing of it. */
#pragma once
