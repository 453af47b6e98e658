# millrace_library(<folder> [TORCH] [LINK libs...] [PRIVATE_LINK libs...] [TEST_LINK libs...])
#
# Makes the static library millrace_<folder> of every .cpp below the current folder, and one test program
# millrace_<folder>_test of every *_test.cpp. What the file names say decides the rest:
#   *_cuda.cu        compiled for GPUs, NVIDIA's or AMD's (Gpu.cmake)
#   *_no_cuda.cpp    the twin, compiled when there is no compiler for them
#   arrow_*.cpp      compiled when there is libarrow
#   no_arrow*.cpp    the twins, compiled when there is none
#   *_curl.cpp       compiled when there is libcurl
#   *_no_curl.cpp    the twin, compiled when there is none; *_curl_test.cpp is left out then
#   *_module.cpp     left out: a module of its own, which the program loads when it needs it
#   *_isa.cpp        compiled once per CPU level (x86-64-v2, -v3, -v4) with -DMILLRACE_ISA=<level>
#   *_bf16dot.cpp    compiled once, as for level v4, with AVX-512's dot products of bf16 pairs
#   *_amx.cpp        compiled once, as for level v4, with AMX's products of bf16 tiles
# TORCH uses libtorch and its precompiled header. Sources are compiled in units of several (Unity.cmake), but for the kinds above
# that are compiled in a way of their own.
set(MILLRACE_ISA_LEVELS v2 v3 v4)

# Compiles sources for a CPU level, with further options, into a library's objects.
function(millrace_level_objects target name level)
  cmake_parse_arguments(ARG "" "" "SOURCES;OPTIONS" ${ARGN})
  set(objects ${target}_${name})
  add_library(${objects} OBJECT ${ARG_SOURCES})
  target_include_directories(${objects} PRIVATE ${CMAKE_SOURCE_DIR}/src)
  target_compile_definitions(${objects} PRIVATE MILLRACE_ISA=${level} MILLRACE_ISA_${level}=1)
  target_compile_options(${objects} PRIVATE -march=x86-64-${level} -O3 -ffp-contract=fast -fno-trapping-math -fopenmp-simd)
  if(level STREQUAL v4)
    target_compile_options(${objects} PRIVATE -mprefer-vector-width=512)
  endif()
  target_compile_options(${objects} PRIVATE ${ARG_OPTIONS})
  target_link_libraries(${objects} PRIVATE millrace_flags)
  target_link_libraries(${target} PUBLIC $<TARGET_OBJECTS:${objects}>)
  add_dependencies(${target} ${objects})
endfunction()

function(millrace_library folder)
  cmake_parse_arguments(ARG "TORCH" "" "LINK;PRIVATE_LINK;TEST_LINK" ${ARGN})
  set(target millrace_${folder})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  file(GLOB_RECURSE tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cpp)
  file(GLOB_RECURSE isa_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_isa.cpp)
  file(GLOB_RECURSE bf16dot_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_bf16dot.cpp)
  file(GLOB_RECURSE amx_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_amx.cpp)
  file(GLOB_RECURSE twins CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_no_cuda.cpp)
  file(GLOB_RECURSE modules CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_module.cpp)
  file(GLOB_RECURSE cuda_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cu)
  list(REMOVE_ITEM sources ${tests} ${isa_sources} ${bf16dot_sources} ${amx_sources} ${twins} ${modules} "")
  set(twin_sources "")
  if(MILLRACE_GPU_KIND STREQUAL "none")
    set(twin_sources ${twins})
    set(cuda_sources "")
  endif()
  if(MILLRACE_HAS_ARROW)
    list(FILTER sources EXCLUDE REGEX "/no_arrow[^/]*$")
  else()
    list(FILTER sources EXCLUDE REGEX "/arrow_[^/]*$")
    list(FILTER tests EXCLUDE REGEX "/arrow_[^/]*$")
  endif()
  if(MILLRACE_HAS_CURL)
    list(FILTER sources EXCLUDE REGEX "_no_curl\\.cpp$")
  else()
    list(FILTER sources EXCLUDE REGEX "[^o]_curl\\.cpp$")
    list(FILTER tests EXCLUDE REGEX "_curl_test\\.cpp$")
  endif()

  if(NOT sources)  # a folder that has only headers
    return()
  endif()
  # Twins make units of their own: the others are the same then whether there is a compiler for GPUs or not.
  millrace_unity(sources ${target} ${sources})
  millrace_unity(twin_sources ${target} ${twin_sources})
  add_library(${target} STATIC ${sources} ${twin_sources})
  target_include_directories(${target} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(${target} PUBLIC ${ARG_LINK} PRIVATE millrace_flags ${ARG_PRIVATE_LINK})
  if(cuda_sources)
    millrace_gpu_sources(${target} ${cuda_sources})
  endif()
  if(ARG_TORCH)
    target_link_libraries(${target} PUBLIC millrace::torch)
    millrace_use_torch_pch(${target})
  endif()

  if(isa_sources)
    foreach(level ${MILLRACE_ISA_LEVELS})
      millrace_level_objects(${target} ${level} ${level} SOURCES ${isa_sources})
    endforeach()
  endif()
  if(bf16dot_sources)
    millrace_level_objects(${target} bf16dot v4 SOURCES ${bf16dot_sources} OPTIONS -mavx512bf16)
  endif()
  if(amx_sources)
    millrace_level_objects(${target} amx v4 SOURCES ${amx_sources} OPTIONS -mamx-tile -mamx-bf16)
  endif()

  if(MILLRACE_TESTS AND tests)
    set(test_sources ${tests})
    millrace_unity(tests ${target}_test ${tests})
    add_executable(${target}_test ${tests})
    target_link_libraries(${target}_test PRIVATE ${target} millrace_flags ${ARG_TEST_LINK} GTest::gmock GTest::gtest_main)
    # What tests wait for is in the library: they themselves are compiled in three quarters of the time.
    target_compile_options(${target}_test PRIVATE $<$<CONFIG:Release>:-O1>)
    if(ARG_TORCH)
      millrace_use_torch_pch(${target}_test)
    endif()
    millrace_add_test(unit.${folder} ${target}_test)
    foreach(test ${test_sources})
      file(STRINGS ${test} on_gpu REGEX "^TEST.*OnGpu" LIMIT_COUNT 1)
      if(on_gpu)
        millrace_add_gpu_test(${folder} ${target}_test)
        break()
      endif()
    endforeach()
  endif()
endfunction()

# millrace_add_test(<name> <target>): runs a GoogleTest program. Programs that use no libtorch also belong to the target
# millrace_torch_free_tests and have the label torch_free: those are built and run under the sanitizers.
# Tests with OnGpu in their names are left out where there is no GPU (millrace_add_gpu_test). A test that skips itself fails.
function(millrace_add_test name target)
  set(arguments --gtest_brief=1)
  if(NOT MILLRACE_SEES_GPU)
    list(APPEND arguments --gtest_filter=-*OnGpu*)
  endif()
  add_test(NAME ${name} COMMAND ${target} ${arguments})
  set_tests_properties(${name} PROPERTIES TIMEOUT 600 FAIL_REGULAR_EXPRESSION "\\[  SKIPPED \\]")
  get_target_property(uses_torch ${target} MILLRACE_USES_TORCH)
  if(NOT uses_torch)
    set_tests_properties(${name} PROPERTIES LABELS torch_free)
    if(NOT TARGET millrace_torch_free_tests)
      add_custom_target(millrace_torch_free_tests)
    endif()
    add_dependencies(millrace_torch_free_tests ${target})
  endif()
endfunction()

# millrace_add_gpu_test(<name> <target>): where there is a GPU, the tests of the program with OnGpu in their names, as the ctest
# OnGpu.<name>, labelled gpu. Everywhere a ctest that fails if there are none, so that the filter always selects something.
file(GLOB MILLRACE_SEES_GPU /dev/nvidia[0-9]* /dev/kfd)
function(millrace_add_gpu_test name target)
  set(only_gpu "--gtest_filter=*OnGpu*")
  add_test(NAME has_gpu_tests.${name} COMMAND ${target} --gtest_list_tests ${only_gpu})
  set_tests_properties(has_gpu_tests.${name} PROPERTIES PASS_REGULAR_EXPRESSION "OnGpu")
  if(MILLRACE_SEES_GPU)
    add_test(NAME OnGpu.${name} COMMAND ${target} ${only_gpu})
    set_tests_properties(OnGpu.${name} PROPERTIES TIMEOUT 600 LABELS gpu FAIL_REGULAR_EXPRESSION "SKIPPED;Running 0 tests")
  endif()
endfunction()

# libtorch's headers take 20 s to compile; every torch-using target shares one precompiled copy. It saves reading them, but
# the templates that their inline functions use are instantiated by each file anew. So only what nearly all files need is
# in it: torch/torch.h would add 2 to 5 s to each file, CLI11 4 s, autograd's custom_function.h 0.7 s.
function(millrace_use_torch_pch target)
  if(NOT TARGET millrace_torch_pch)
    file(WRITE ${CMAKE_BINARY_DIR}/torch_pch/torch_pch.cpp "// Holds the precompiled torch headers.\n")
    add_library(millrace_torch_pch STATIC ${CMAKE_BINARY_DIR}/torch_pch/torch_pch.cpp)
    target_link_libraries(millrace_torch_pch PUBLIC millrace::torch PRIVATE millrace_flags)
    target_precompile_headers(millrace_torch_pch PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:<torch/types.h$<ANGLE-R>>
      $<$<COMPILE_LANGUAGE:CXX>:<torch/utils.h$<ANGLE-R>>)
  endif()
  target_precompile_headers(${target} REUSE_FROM millrace_torch_pch)
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "EXECUTABLE")  # must be compiled as the header is: as library code
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${target} PRIVATE -fPIC)
  endif()
  set_target_properties(${target} PROPERTIES MILLRACE_USES_TORCH ON)
endfunction()
