#include <windows.h>
#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE octets, SIZE_T count) {
    return RtlGenRandom(octets, (ULONG)count);
}
