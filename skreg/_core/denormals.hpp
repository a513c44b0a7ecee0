// Denormal numbers cost processors up to a hundred times as much as others, and training
// makes them: the moments of a dead unit and the weights of a constant input decay
// geometrically towards 0.
#pragma once

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace skreg {

// From here on this thread takes denormal numbers for 0, and makes none. Returns the
// state to restore.
inline unsigned flush_denormals() {
#if defined(__SSE2__)
    constexpr unsigned results_and_operands = 0x8040;
    const unsigned state = _mm_getcsr();
    _mm_setcsr(state | results_and_operands);
    return state;
#else
    return 0;
#endif
}

inline void restore_denormals(unsigned state) {
#if defined(__SSE2__)
    _mm_setcsr(state);
#else
    (void)state;
#endif
}

}  // namespace skreg
