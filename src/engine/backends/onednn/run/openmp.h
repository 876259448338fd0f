#pragma once
// The two functions of the OpenMP runtime (OpenMP 5.0, section 3.2) that this backend calls; omp.h comes only with compilers that have OpenMP.

extern "C" {
void omp_set_num_threads(int threads);
int omp_get_max_threads(void);
}
