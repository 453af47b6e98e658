# Imported targets for the libtorch inside the PyTorch wheel.
# The wheel's own TorchConfig.cmake insists on a CUDA toolkit and probes GPUs; a machine with neither builds too.
#
#   millrace::torch        headers, torch_cpu, c10 (the GPU's half is loaded at run time, by nn/device.cpp)
#   MILLRACE_TORCH_GPU     what that half is for: cuda, hip (AMD: a ROCm wheel) or none

set(MILLRACE_TORCH "" CACHE PATH "Folder of the torch wheel (holds include/ and lib/); default: .venv, .deps or python3's")
millrace_find_wheel(MILLRACE_TORCH torch include/torch/csrc/api/include/torch/torch.h)
if(NOT EXISTS ${MILLRACE_TORCH}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "libtorch not found. Run scripts/setup.sh, or set -DMILLRACE_TORCH=<site-packages>/torch")
endif()

# A ROCm wheel renames the libraries that it brings: libamdhip64.so and libgomp.so still call themselves libamdhip64.so.7
# and libgomp.so.1. What is linked to them asks for those names, libtorch for the others: with both in one folder the
# loader sees that they are one file, instead of taking the system's library as well.
function(millrace_link_soname library)
  get_filename_component(folder ${library} DIRECTORY)
  get_filename_component(name ${library} NAME)
  if(NOT folder STREQUAL ${MILLRACE_TORCH}/lib)
    return()
  endif()
  execute_process(COMMAND ${CMAKE_READELF} -d ${library} OUTPUT_VARIABLE dynamic COMMAND_ERROR_IS_FATAL ANY)
  if(NOT dynamic MATCHES "SONAME[^[]*\\[([^]]+)\\]")
    return()
  endif()
  set(soname ${CMAKE_MATCH_1})
  if(NOT EXISTS ${folder}/${soname})
    file(CREATE_LINK ${name} ${folder}/${soname} SYMBOLIC)
    message(STATUS "libtorch: ${soname} is a link to ${name}")
  endif()
endfunction()

add_library(millrace_torch INTERFACE)
add_library(millrace::torch ALIAS millrace_torch)
target_include_directories(millrace_torch SYSTEM INTERFACE
  ${MILLRACE_TORCH}/include
  ${MILLRACE_TORCH}/include/torch/csrc/api/include)
target_compile_definitions(millrace_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
# at::parallel_for() is inline: in a file that is compiled without OpenMP it uses one thread, and says nothing.
target_compile_options(millrace_torch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
target_link_libraries(millrace_torch INTERFACE
  ${MILLRACE_TORCH}/lib/libtorch_cpu.so
  ${MILLRACE_TORCH}/lib/libc10.so)
# The wheel brings its own OpenMP run time; naming it here keeps the system's out of the process.
file(GLOB _gomp ${MILLRACE_TORCH}/lib/libgomp*.so*)
list(SORT _gomp)
if(_gomp)
  list(GET _gomp 0 _gomp)
  millrace_link_soname(${_gomp})
  target_link_libraries(millrace_torch INTERFACE ${_gomp})
else()
  message(FATAL_ERROR "libtorch: expected libgomp in ${MILLRACE_TORCH}/lib, got none; kernels would run on one thread")
endif()
get_filename_component(_site_packages ${MILLRACE_TORCH} DIRECTORY)
target_link_options(millrace_torch INTERFACE
  -Wl,-rpath,${MILLRACE_TORCH}/lib
  -Wl,-rpath,${_site_packages}/nvidia/cu13/lib  # the CUDA run time that libtorch_cpu.so is linked to, before a toolkit's own
  -Wl,--allow-shlib-undefined)
set(MILLRACE_TORCH_GPU none)
if(EXISTS ${MILLRACE_TORCH}/lib/libtorch_hip.so)
  set(MILLRACE_TORCH_GPU hip)
elseif(EXISTS ${MILLRACE_TORCH}/lib/libtorch_cuda.so)
  set(MILLRACE_TORCH_GPU cuda)
endif()
message(STATUS "libtorch: ${MILLRACE_TORCH} (GPU: ${MILLRACE_TORCH_GPU})")
