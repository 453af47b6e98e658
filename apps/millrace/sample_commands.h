// The two kinds of `millrace sample`.
#pragma once

#include <string>
#include <vector>

namespace millrace {

int sample_pictures(const std::vector<std::string>& args);
int sample_texts(const std::vector<std::string>& args);

}  // namespace millrace
