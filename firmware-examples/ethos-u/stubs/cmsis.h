// A stub for tests: the functions of CMSIS for the data cache of a Cortex-M55, which write down that they were called.
#pragma once
#include <cstdint>
#define __DCACHE_PRESENT 1
extern int cleaned, dropped; // bytes
extern bool dirty;           // whether the cache holds what the runtime wrote

inline void SCB_CleanInvalidateDCache_by_Addr(volatile void *, int32_t bytes) {
    cleaned = bytes;
    dirty = false;
}
inline void SCB_InvalidateDCache_by_Addr(volatile void *, int32_t bytes) { dropped = bytes; }
