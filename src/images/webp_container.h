// A WebP file parsed by libwebpdemux (internal to images/).
#pragma once

#include <webp/demux.h>

#include <memory>
#include <string_view>

namespace millrace {

struct DeleteDemuxer {
  void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
};

// nullptr for a damaged or truncated file. The result points into file, which must stay valid.
inline std::unique_ptr<WebPDemuxer, DeleteDemuxer> open_webp(std::string_view file) {
  const WebPData data = {reinterpret_cast<const uint8_t*>(file.data()), file.size()};
  return std::unique_ptr<WebPDemuxer, DeleteDemuxer>(WebPDemux(&data));
}

}  // namespace millrace
