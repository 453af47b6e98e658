# Which GPUs the kernels (*_cuda.cu) are compiled for. The same sources serve both makes: kernels/gpu_portability.cuh.
#
#   MILLRACE_GPU=auto   hip if libtorch is the ROCm one, cuda if there is a CUDA compiler, none if there is neither
#                cuda   NVIDIA: nvcc
#                hip    AMD: hipcc of ROCm, or Debian's
#                none   CPUs alone: the *_no_cuda.cpp twins answer
#
# Sets MILLRACE_GPU_KIND: cuda, hip or none.
set(MILLRACE_GPU auto CACHE STRING "GPUs to build for: auto, cuda, hip or none")
set_property(CACHE MILLRACE_GPU PROPERTY STRINGS auto cuda hip none)
set(MILLRACE_CUDA_ARCHITECTURES "80;90;100" CACHE STRING "NVIDIA architectures to compile for")
set(MILLRACE_HIP_ARCHITECTURES "" CACHE STRING "AMD architectures to compile for; empty: what hipcc's version knows of MI200, MI300 and MI350")
if(NOT MILLRACE_GPU MATCHES "^(auto|cuda|hip|none)$")
  message(FATAL_ERROR "[MILLRACE_GPU] expected auto, cuda, hip or none, got ${MILLRACE_GPU}")
endif()

set(MILLRACE_GPU_KIND none)
if(MILLRACE_GPU STREQUAL "hip" OR (MILLRACE_GPU STREQUAL "auto" AND MILLRACE_TORCH_GPU STREQUAL "hip"))
  include(Hip)
elseif(MILLRACE_GPU MATCHES "^(auto|cuda)$")
  include(Cuda)
endif()
if(MILLRACE_GPU MATCHES "^(cuda|hip)$" AND NOT MILLRACE_GPU_KIND STREQUAL MILLRACE_GPU)
  message(FATAL_ERROR "[MILLRACE_GPU] expected a compiler for ${MILLRACE_GPU}, got none (try installing the CUDA toolkit, ROCm or Debian's hipcc, or MILLRACE_GPU=none)")
endif()
if(NOT MILLRACE_GPU_KIND STREQUAL "none" AND NOT MILLRACE_TORCH_GPU STREQUAL "none" AND NOT MILLRACE_TORCH_GPU STREQUAL MILLRACE_GPU_KIND)
  message(STATUS "GPU kernels are for ${MILLRACE_GPU_KIND}, libtorch for ${MILLRACE_TORCH_GPU}: they compile, but no GPU can be used")
endif()
message(STATUS "GPU kernels: ${MILLRACE_GPU_KIND}")

# millrace_gpu_sources(<target> <file.cu>...): compiles them into the target, in the language that was found.
function(millrace_gpu_sources target)
  if(MILLRACE_GPU_KIND STREQUAL "hip")
    millrace_hip_sources(${target} ${ARGN})
  else()
    millrace_cuda_sources(${target} ${ARGN})
  endif()
endfunction()
