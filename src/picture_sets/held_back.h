// Which pictures validation.split holds back from training.
//
// A picture's key decides, the name of its folder and its own ("10_cat/007.png"), and nothing else: a picture that
// several data sets have is held back in all of them, and a copy of the pictures elsewhere is split alike. A picture
// more or less moves at most one other to the other side.
#pragma once

#include <set>
#include <string>

#include "picture_sets/subset_files.h"

namespace millrace {

struct HeldBack {
  std::set<std::string> keys;
  bool all = false;  // every picture, of data sets that are only validated on
};

std::string held_back_key(const PictureFile& picture);

// Chooses the round(part x number) keys with the smallest checksums. Throws ConfigError if that is none of them, or
// all. place: names the data sets.
HeldBack choose_held_back(const std::set<std::string>& keys, double part, const std::string& place);

}  // namespace millrace
