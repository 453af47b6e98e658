# millrace_find_wheel(<variable> <package> <probe>): the folder of a Python package that brings a C++ library: .venv's,
# .deps', or python3's; the first that holds the file <probe>. A cache variable that is set already stays.
function(millrace_find_wheel variable package probe)
  if(${variable})
    return()
  endif()
  file(GLOB candidates
    ${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/${package}
    ${CMAKE_SOURCE_DIR}/.deps/${package})
  execute_process(
    COMMAND python3 -c "import importlib.util as u; s = u.find_spec('${package}'); print(s.submodule_search_locations[0] if s else '')"
    OUTPUT_VARIABLE of_python OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  foreach(candidate ${candidates} ${of_python})
    if(EXISTS ${candidate}/${probe})
      set(${variable} ${candidate} CACHE PATH "" FORCE)
      return()
    endif()
  endforeach()
endfunction()
