// What a benchmark program defines; main.cc has the rest.
#pragma once

namespace culvert::bench {

// Registers the benchmarks of the program. Called once, after the command line was read.
void register_benchmarks();

}  // namespace culvert::bench
