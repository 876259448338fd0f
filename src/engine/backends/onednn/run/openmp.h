#pragma once
// The two functions of the OpenMP runtime (OpenMP 5.0, section 3.2) that this backend calls; omp.h comes only with compilers that have OpenMP.

extern "C" {
void omp_set_num_threads(int threads);
int omp_get_max_threads(void);
int omp_get_num_procs(void);
}

namespace slipway::backends::onednn {

// GNU OpenMP's workers spin for milliseconds after each parallel region, against the session's own pool (or any other process) on the same cores: a
// two-thread step of 20 microseconds then takes 5 ms on a busy machine. It spins a hundred times shorter once it manages more threads than there are
// CPUs; this makes it so, once per process, by a sleeping team of its own. Does nothing when the user chose with OMP_WAIT_POLICY or GOMP_SPINCOUNT.
void ShortenSpinning();

}  // namespace slipway::backends::onednn
