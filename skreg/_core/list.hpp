// Alternatives that are chosen at run time by a number, once for many elements:
// activations, losses, optimizers.
#pragma once
#include "isa.hpp"

namespace skreg {

template <typename... F> struct List {};

template <typename... F> constexpr int length(List<F...>) { return sizeof...(F); }

// run(F()) for the entry at the place `code` of a list.
template <typename... F, typename Run>
SKREG_INLINE void dispatch(List<F...>, int code, Run run) {
    int place = 0;
    (void)((place++ == code && (run(F()), true)) || ...);
}

}  // namespace skreg
