// The parts of report.html that show what a language model writes.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace millrace {

// The answers to each prompt through time, from the files samples/step-%08d.txt; "" where there are none. Of very many,
// some between the first and the last are left out.
std::string report_texts(const std::filesystem::path& samples, const std::vector<std::string>& prompts);

// Questions with their answers before and after training, and how many are right, from answers.json; "" without it.
std::string report_answers(const std::filesystem::path& answers_json);

}  // namespace millrace
