# AMD's compiler, if there is one. CMake's own HIP language refuses hipcc and does not find Debian's packages, so each
# source is compiled by a command of its own.

find_program(MILLRACE_HIPCC hipcc HINTS $ENV{ROCM_PATH}/bin /opt/rocm/bin)
if(MILLRACE_HIPCC)
  execute_process(COMMAND ${MILLRACE_HIPCC} --version OUTPUT_VARIABLE _hip_version ERROR_QUIET)
  string(REGEX MATCH "HIP version: ([0-9]+)\\.([0-9]+)" _ "${_hip_version}")
  set(MILLRACE_HIP_VERSION ${CMAKE_MATCH_1}.${CMAKE_MATCH_2})
  if(MILLRACE_HIP_ARCHITECTURES)
    set(_hip_architectures ${MILLRACE_HIP_ARCHITECTURES})
  elseif(MILLRACE_HIP_VERSION VERSION_GREATER_EQUAL 7.0)
    set(_hip_architectures gfx90a gfx942 gfx950)
  elseif(MILLRACE_HIP_VERSION VERSION_GREATER_EQUAL 6.0)
    set(_hip_architectures gfx90a gfx942)
  else()
    set(_hip_architectures gfx90a)
  endif()
  # The run time: the one that libtorch brings, of which a process must have only one, else the system's.
  find_library(MILLRACE_HIP_RUNTIME amdhip64 HINTS ${MILLRACE_TORCH}/lib $ENV{ROCM_PATH}/lib /opt/rocm/lib)
  if(MILLRACE_HIP_RUNTIME)
    set(MILLRACE_GPU_KIND hip)
    millrace_link_soname(${MILLRACE_HIP_RUNTIME})
    message(STATUS "HIP: ${MILLRACE_HIPCC} ${MILLRACE_HIP_VERSION} for ${_hip_architectures}, ${MILLRACE_HIP_RUNTIME}")
  endif()
endif()

# Division and square root are exact and denormal numbers stay, as with nvcc. Blocks have at most kMaxThreads threads
# (kernels/gpu_portability.cuh): the compiler shares out the registers among that many.
set(MILLRACE_HIP_FLAGS -std=c++17 -O3 -g1 -fPIC -Wall -Wextra -Wshadow --gpu-max-threads-per-block=256
    -fno-gpu-flush-denormals-to-zero -fhip-fp32-correctly-rounded-divide-sqrt)
if(MILLRACE_WERROR)
  list(APPEND MILLRACE_HIP_FLAGS -Werror)
endif()

# Makes <target>_hip, which compiles the sources alone, and links their objects into the target. A source's
# MILLRACE_NO_FMA property: no multiplication and addition may become one operation.
function(millrace_hip_sources target)
  list(TRANSFORM _hip_architectures PREPEND --offload-arch= OUTPUT_VARIABLE architectures)
  foreach(source ${ARGN})
    get_filename_component(name ${source} NAME_WE)
    set(object ${CMAKE_CURRENT_BINARY_DIR}/hip/${name}.o)
    get_source_file_property(no_fma ${source} MILLRACE_NO_FMA)
    set(contract fast)
    if(no_fma)
      set(contract off)
    endif()
    add_custom_command(
      OUTPUT ${object}
      COMMAND ${MILLRACE_LAUNCHER} ${MILLRACE_HIPCC} -x hip ${MILLRACE_HIP_FLAGS} -ffp-contract=${contract} ${architectures}
              -I${CMAKE_SOURCE_DIR}/src -MD -MF ${object}.d -c ${source} -o ${object}
      DEPENDS ${source}
      DEPFILE ${object}.d
      COMMENT "Building HIP object ${name}.o"
      VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/hip)
  add_custom_target(${target}_hip DEPENDS ${objects})
  target_sources(${target} PRIVATE ${objects})
  set_source_files_properties(${objects} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  target_link_libraries(${target} PUBLIC ${MILLRACE_HIP_RUNTIME})
endfunction()
