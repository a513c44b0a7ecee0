// Functions marked SKREG_CLONES are compiled for several instruction sets; the dynamic
// loader picks one for the machine. Elsewhere than GCC on x86-64 Linux the mark is empty.
#pragma once

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__gnu_linux__)
#define SKREG_CLONES \
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SKREG_CLONES
#endif
