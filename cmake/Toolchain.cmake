# Compiler settings shared by every target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
# Assertions stay on in release builds: they are cheap beside a GEMM and a wrong run is not.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")
# For a machine that is there for minutes: host code that a GPU's run does not wait for is compiled in three quarters of the time.
option(MILLRACE_QUICK_BUILD "Compile host code with fewer optimisations" OFF)
if(MILLRACE_QUICK_BUILD)
  set(CMAKE_CXX_FLAGS_RELEASE "-O1 -g0")
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  # Precompiled headers are cached only with this sloppiness, and libtorch's has 700 MB: the inode cache saves ccache from
  # reading it for every file. With paths relative to the build folder, build-no-cuda/ shares what build/ compiled.
  set(MILLRACE_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 CCACHE_INODECACHE=1 ${CCACHE_PROGRAM})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${MILLRACE_LAUNCHER})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${MILLRACE_LAUNCHER})
endif()

add_library(millrace_flags INTERFACE)
target_compile_options(millrace_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers -fno-math-errno -Winvalid-pch>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${MILLRACE_WERROR}>>:-Werror>
  $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${MILLRACE_WERROR}>>:--Werror=all-warnings>)

if(MILLRACE_SANITIZE)
  add_compile_options(
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${MILLRACE_SANITIZE}>
    $<$<COMPILE_LANGUAGE:CXX>:-fno-sanitize-recover=all>
    $<$<COMPILE_LANGUAGE:CXX>:-fno-omit-frame-pointer>
    $<$<COMPILE_LANGUAGE:CXX>:-O1>)  # instrumented code compiles slowly, and runs for seconds
  add_link_options(-fsanitize=${MILLRACE_SANITIZE})
endif()
