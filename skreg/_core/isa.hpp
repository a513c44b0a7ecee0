// Instruction sets, on x86-64 Linux with GCC; elsewhere one for all.
//
// Functions marked SKREG_CLONES are compiled for several; the dynamic loader picks one
// for the machine. Where an instruction set also changes the algorithm, SKREG_V3 (AVX2)
// and SKREG_V4 (AVX-512) mark its function, and isa_level() says which one may run.
#pragma once

#if defined(__GNUC__) && __GNUC__ >= 12 && defined(__x86_64__) && defined(__gnu_linux__)
#define SKREG_CLONES                                                                     \
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define SKREG_V3 __attribute__((target("arch=x86-64-v3")))
#define SKREG_V4 __attribute__((target("arch=x86-64-v4")))
#define SKREG_INLINE inline __attribute__((always_inline))
#define SKREG_SUPPORTS(name) __builtin_cpu_supports(name)
#else
#define SKREG_CLONES
#define SKREG_V3
#define SKREG_V4
#define SKREG_INLINE inline
#define SKREG_SUPPORTS(name) false
#endif

namespace skreg {

inline int isa_level() {
    if (SKREG_SUPPORTS("x86-64-v4")) return 4;
    return SKREG_SUPPORTS("x86-64-v3") ? 3 : 1;
}

}  // namespace skreg
