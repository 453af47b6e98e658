// The CPU level that kernels use: one of the x86-64 micro-architecture levels of the System V ABI.
//
// Kernels are compiled once per level (see simd.h) and chosen at run time: the best level that the processor supports,
// or, for tests, the one named by the environment variable MILLRACE_CPU_LEVEL (v2, v3 or v4).
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace millrace {

enum class CpuLevel {
  kV2,  // SSE 4.2
  kV3,  // AVX2 and FMA
  kV4,  // AVX-512 F, BW, CD, DQ, VL
};

const char* cpu_level_name(CpuLevel level);  // "v2", "v3", "v4"

// The best level of this processor. Throws ConfigError on a processor older than v2.
CpuLevel detected_cpu_level();

// The level in use. Throws ConfigError when MILLRACE_CPU_LEVEL is not a level or is unsupported by this processor.
CpuLevel cpu_level();

// Every level that this processor can run, lowest first.
std::vector<CpuLevel> supported_cpu_levels();

// Uses `level` from now on in this process; nullopt restores the default. For tests and comparisons.
void force_cpu_level(std::optional<CpuLevel> level);

// What tests run: the processor's own choice (nullopt), which may be more than the best level, and every level.
std::vector<std::optional<CpuLevel>> cpu_level_choices();
std::string cpu_level_choice_name(std::optional<CpuLevel> choice);  // "best", "v2", "v3", "v4"

bool is_amd_processor();

// Whether this processor has AVX-512's dot products of bf16 pairs, and the level in use is v4.
bool has_bf16_dot_products();

// Whether products of bf16 tiles (Intel's AMX) can be used: the processor has them, the kernel gives this process their
// registers, and no level is forced, neither by force_cpu_level() nor by the environment variable.
bool has_bf16_tiles();

// One line for display: "x86-64-v4 (AVX-512; bf16 dot products: yes; AMX: no)".
std::string cpu_level_report();

}  // namespace millrace

// Selects the function table of the level in use: each *_isa.cpp defines <table>_v2, <table>_v3 and <table>_v4.
#define MILLRACE_SELECT_KERNELS(table)                                 \
  (::millrace::cpu_level() == ::millrace::CpuLevel::kV4   ? table##_v4 \
   : ::millrace::cpu_level() == ::millrace::CpuLevel::kV3 ? table##_v3 \
                                                          : table##_v2)
