// What millrace writes where a file promises Python's form, for tests/parity/test_python_numbers.py.
//
//   millrace_python_numbers_tool floats    doubles (8 bytes each) from stdin to python_float(), one a line
//   millrace_python_numbers_tool json      a JSON text from stdin to python_json() in the styles spaced and compact, a
//   line each
#include <cstdio>
#include <cstring>
#include <iostream>
#include <iterator>
#include <string>

#include <nlohmann/json.hpp>

#include "base/python_float.h"
#include "formats/python_json.h"

int main(int argc, char** argv) {
  const std::string command = argc == 2 ? argv[1] : "";
  const std::string input(std::istreambuf_iterator<char>(std::cin), {});
  std::string output;
  if (command == "floats") {
    double value = 0;
    for (size_t offset = 0; offset + sizeof(value) <= input.size(); offset += sizeof(value)) {
      std::memcpy(&value, input.data() + offset, sizeof(value));
      output += millrace::python_float(value) + "\n";
    }
  } else if (command == "json") {
    const auto json = nlohmann::ordered_json::parse(input);
    output = millrace::python_json(json) + "\n" +
             millrace::python_json(nlohmann::json(json), {.compact = true, .ensure_ascii = false}) + "\n";
  } else {
    std::cerr << "expected floats or json, got " << command << "\n";
    return 2;
  }
  std::fwrite(output.data(), 1, output.size(), stdout);
  return 0;
}
