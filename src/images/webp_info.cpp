#include "images/picture_info.h"
#include "images/webp_container.h"

namespace millrace {
namespace {

std::optional<PictureInfo::Entry> find_chunk(const WebPDemuxer* demuxer, const char* name) {
  std::optional<PictureInfo::Entry> found;
  WebPChunkIterator chunk;
  if (WebPDemuxGetChunk(demuxer, name, 1, &chunk)) {
    if (chunk.chunk.size > 0)
      found.emplace().content.assign(reinterpret_cast<const char*>(chunk.chunk.bytes), chunk.chunk.size);
    WebPDemuxReleaseChunkIterator(&chunk);
  }
  return found;
}

}  // namespace

PictureInfo read_webp_info(std::string_view file) {
  PictureInfo info;
  const auto demuxer = open_webp(file);
  if (!demuxer) {
    info.problem = "expected a whole WebP, got one that is damaged or cut short";
    return info;
  }
  info.exif = find_chunk(demuxer.get(), "EXIF");
  info.xmp = find_chunk(demuxer.get(), "XMP ");
  return info;
}

}  // namespace millrace
