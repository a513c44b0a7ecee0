// Instruction sets, on x86-64 Linux with GCC; elsewhere, or where SKREG_PORTABLE is
// defined (a build to test what other processors run), one for all.
//
// Functions marked SKREG_CLONES are compiled for several; the dynamic loader picks one
// for the machine. Where an instruction set also changes the algorithm, SKREG_V3 (AVX2)
// and SKREG_V4 (AVX-512) mark its function, and isa_level() says which one may run.
#pragma once
#include <cstdlib>

#if defined(__GNUC__) && __GNUC__ >= 12 && defined(__x86_64__) &&                        \
    defined(__gnu_linux__) && !defined(SKREG_PORTABLE)
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

// Tests lower it by the environment variable SKREG_ISA_LEVEL.
inline int isa_level() {
    static const int level = [] {
        const char *limit = std::getenv("SKREG_ISA_LEVEL");
        const int most = limit ? std::atoi(limit) : 4;
        if (most >= 4 && SKREG_SUPPORTS("x86-64-v4")) return 4;
        return most >= 3 && SKREG_SUPPORTS("x86-64-v3") ? 3 : 1;
    }();
    return level;
}

}  // namespace skreg
