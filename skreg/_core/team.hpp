// Threads that work together for one call of the core, and are gone when it returns:
// there is nothing to fork with, and no runtime to share with other libraries.
#pragma once
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "denormals.hpp"

namespace skreg {

// All members run the same function, and share the tasks of each of its phases. Which one
// takes a task depends on chance; so a task must own what it writes.
class Team {
  public:
    // Run work(team, member) on so many threads, this one is member 0; on fewer if the
    // system has no more. `work` must not throw.
    template <typename F> static void run(int n_threads, F work) {
        Team team;
        std::vector<std::thread> others;
        others.reserve(std::max(n_threads - 1, 0));
        {
            const std::lock_guard<std::mutex> start(team.mutex_);  // size_ is not known
            try {
                while (int(others.size()) + 1 < n_threads) {
                    const int member = int(others.size()) + 1;
                    others.emplace_back([&team, &work, member] {
                        {
                            const std::lock_guard<std::mutex> started(team.mutex_);
                        }
                        work(team, member);
                    });
                }
            } catch (const std::system_error &) {
            }
            team.size_ = int(others.size()) + 1;
        }
        work(team, 0);
        for (std::thread &other : others) other.join();
    }

    // Call each(i) for i in [0, n), shared among the members; then `last` once, when all
    // are done, and go on together.
    template <typename F, typename Last> void share(ptrdiff_t n, F each, Last last) {
        for (ptrdiff_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < n;)
            each(i);
        meet(last);
    }
    template <typename F> void share(ptrdiff_t n, F each) {
        share(n, each, [] {});
    }

  private:
    // About ten microseconds: phases are short, and so are most waits. Longer ones, on a
    // loaded machine, give the processor away.
    static constexpr int SPINS = 4000;

    template <typename Last> void meet(Last last) {
        const unsigned turn = turn_.load(std::memory_order_relaxed);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
            last();
            arrived_.store(0, std::memory_order_relaxed);
            next_.store(0, std::memory_order_relaxed);
            {
                const std::lock_guard<std::mutex> lock(mutex_);
                turn_.store(turn + 1, std::memory_order_release);
            }
            if (size_ > 1) wake_.notify_all();
            return;
        }
        for (int spin = 0; spin < SPINS; ++spin)
            if (turn_.load(std::memory_order_acquire) != turn) return;
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return turn_.load(std::memory_order_acquire) != turn; });
    }

    int size_ = 1;
    alignas(64) std::atomic<ptrdiff_t> next_{0};
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<unsigned> turn_{0};
    std::mutex mutex_;
    std::condition_variable wake_;
};

}  // namespace skreg
