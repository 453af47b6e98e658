# libarrow of the pyarrow wheel, as millrace::arrow. A machine without it builds too: src/formats/no_arrow.cpp answers there.

set(MILLRACE_ARROW "" CACHE PATH "Folder of the pyarrow wheel (holds include/ and libarrow.so.*); default: .venv, .deps or python3's")

if(NOT MILLRACE_ARROW)
  file(GLOB _candidates
    ${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/pyarrow
    ${CMAKE_SOURCE_DIR}/.deps/pyarrow)
  execute_process(
    COMMAND python3 -c "import importlib.util as u; s = u.find_spec('pyarrow'); print(s.submodule_search_locations[0] if s else '')"
    OUTPUT_VARIABLE _of_python OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  foreach(_candidate ${_candidates} ${_of_python})
    if(EXISTS ${_candidate}/include/arrow/ipc/reader.h)
      set(MILLRACE_ARROW ${_candidate} CACHE PATH "" FORCE)
      break()
    endif()
  endforeach()
endif()

set(MILLRACE_HAS_ARROW OFF)
if(MILLRACE_ARROW)
  file(GLOB _libarrow ${MILLRACE_ARROW}/libarrow.so.*)
  if(_libarrow)
    list(GET _libarrow 0 _libarrow)
    set(MILLRACE_HAS_ARROW ON)
    add_library(millrace_arrow INTERFACE)
    add_library(millrace::arrow ALIAS millrace_arrow)
    target_include_directories(millrace_arrow SYSTEM INTERFACE ${MILLRACE_ARROW}/include)
    target_link_libraries(millrace_arrow INTERFACE ${_libarrow})
    target_link_options(millrace_arrow INTERFACE -Wl,-rpath,${MILLRACE_ARROW})
  endif()
endif()
if(MILLRACE_HAS_ARROW)
  message(STATUS "Arrow: ${MILLRACE_ARROW}")
else()
  message(STATUS "Arrow: none; Arrow files will not be read or written (try scripts/setup.sh, or -DMILLRACE_ARROW=<site-packages>/pyarrow)")
endif()
