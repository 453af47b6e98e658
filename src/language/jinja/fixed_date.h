// The day that chat templates see, so that the ids of a data set do not depend on when it is read.
#pragma once

#include <string>

namespace millrace::jinja {

// 26 July 2024, the date in Llama 3's own template, at midnight, as strftime() writes it in English. Throws
// EvaluationError for a format that gives nothing or more than 255 bytes.
std::string fixed_date(const std::string& format);

}  // namespace millrace::jinja
