#pragma once

#include <cstdint>

// The two functions of the OpenMP runtime (OpenMP 5.0, section 3.2) that this backend calls; omp.h
// comes only with compilers that have OpenMP.

extern "C" {
void omp_set_num_threads(int threads);
int omp_get_max_threads(void);
int omp_get_num_procs(void);
int omp_get_thread_num(void);
int omp_get_num_threads(void);
// What compilers emit for "#pragma omp parallel" (libgomp's ABI).
void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned flags);
}

namespace slipway::backends::onednn {

// GNU OpenMP's workers spin for milliseconds after each parallel region, against the session's own
// pool (or any other process) on the same cores: a two-thread step of 20 microseconds then takes 5
// ms on a busy machine. It spins a hundred times shorter once it manages more threads than there
// are CPUs; this makes it so, once per process, by a sleeping team of its own. Does nothing when
// the user chose with OMP_WAIT_POLICY or GOMP_SPINCOUNT.
void ShortenSpinning();

// body(begin, end) over [0, count) on the team that the primitives run on: alternating with the
// session's pool would make two sets of threads wait for the same CPUs.
template <typename Body>
void TeamFor(int threads, int64_t count, int64_t grain, const Body& body) {
  if (threads <= 1 || count <= grain) return body(int64_t{0}, count);
  struct Context {
    const Body& body;
    int64_t count;
  } context{body, count};
  GOMP_parallel(
      [](void* p) {
        const Context& c = *static_cast<const Context*>(p);
        const int64_t i = omp_get_thread_num(), n = omp_get_num_threads();
        c.body(c.count * i / n, c.count * (i + 1) / n);
      },
      &context, static_cast<unsigned>(threads), 0);
}

}  // namespace slipway::backends::onednn
