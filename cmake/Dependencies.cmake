# The C++ libraries of scripts/packages.txt: Debian's, or those that scripts/fetch_deps.sh unpacked into .deps/, which are
# searched first. Libraries with neither a CMake package nor a module (turbojpeg, webp, sentencepiece, pcre2-8) are linked by
# their plain names.
set(MILLRACE_DEPS ${CMAKE_SOURCE_DIR}/.deps/root/usr CACHE PATH "Unpacked C++ dependencies")
if(EXISTS ${MILLRACE_DEPS})
  if(NOT CMAKE_LIBRARY_ARCHITECTURE)
    set(CMAKE_LIBRARY_ARCHITECTURE x86_64-linux-gnu)  # Debian's layout, on other distributions too
  endif()
  set(_deps_lib ${MILLRACE_DEPS}/lib/${CMAKE_LIBRARY_ARCHITECTURE})
  list(PREPEND CMAKE_PREFIX_PATH ${MILLRACE_DEPS})
  include_directories(SYSTEM ${MILLRACE_DEPS}/include ${MILLRACE_DEPS}/include/${CMAKE_LIBRARY_ARCHITECTURE})
  link_directories(${_deps_lib})
  list(APPEND CMAKE_BUILD_RPATH ${_deps_lib})
  message(STATUS "C++ dependencies: ${MILLRACE_DEPS}")
endif()

# Imported targets are found once, here: a folder's CMakeLists.txt only names them.
find_package(Threads REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(CLI11 REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(ZLIB REQUIRED)
find_package(PNG REQUIRED)
find_package(LibArchive REQUIRED)
find_package(Freetype REQUIRED)
if(LibArchive_LIBRARY MATCHES "\\.a$")
  target_link_libraries(LibArchive::LibArchive INTERFACE ZLIB::ZLIB)
endif()
if(FREETYPE_LIBRARY MATCHES "\\.a$" OR FREETYPE_LIBRARY_RELEASE MATCHES "\\.a$")
  target_link_libraries(Freetype::Freetype INTERFACE PNG::PNG brotlidec brotlicommon)
endif()
find_package(OpenSSL REQUIRED COMPONENTS Crypto)

# libcurl is optional: `millrace download` needs it, and where it is missing the *_no_curl.cpp twins say so. fetch_deps.sh
# does not bring it, because thirty packages hang on it (Kerberos, LDAP, RTMP, SSH, ...), and the machine's own is not
# mixed with an unpacked OpenSSL.
set(MILLRACE_HAS_CURL OFF)
set(MILLRACE_CURL "")
if(NOT EXISTS ${MILLRACE_DEPS})
  find_package(CURL 7.85 QUIET)
  if(CURL_FOUND)
    set(MILLRACE_HAS_CURL ON)
    set(MILLRACE_CURL CURL::libcurl)
  endif()
endif()
message(STATUS "libcurl: ${MILLRACE_HAS_CURL}")

if(MILLRACE_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()
if(MILLRACE_BENCHMARKS)
  find_package(benchmark QUIET)
endif()
