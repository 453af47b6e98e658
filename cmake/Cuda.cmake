# NVIDIA's compiler, if there is one: CMake's own CUDA language.
include(CheckLanguage)
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES ${MILLRACE_CUDA_ARCHITECTURES})
endif()
check_language(CUDA)
if(CMAKE_CUDA_COMPILER)
  enable_language(CUDA)
  set(CMAKE_CUDA_STANDARD 17)
  find_package(CUDAToolkit REQUIRED)
  set(MILLRACE_GPU_KIND cuda)
endif()

# A source's MILLRACE_NO_FMA property: no multiplication and addition may become one operation.
function(millrace_cuda_sources target)
  target_sources(${target} PRIVATE ${ARGN})
  # To the linker alone: with the toolkit's headers in their command, C++ sources would not be the same to ccache in a build
  # without a toolkit.
  target_link_libraries(${target} PUBLIC $<LINK_ONLY:CUDA::cudart>)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-lineinfo --expt-relaxed-constexpr -Xcompiler=-Wall>)
  foreach(source ${ARGN})
    get_source_file_property(no_fma ${source} MILLRACE_NO_FMA)
    if(no_fma)
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS --fmad=false)
    endif()
  endforeach()
endfunction()
