-- For wrk: sends the requests of the file that its argument names, one after the other, from a place of its own.
local requests, place = {}, 0

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  for request in file:read("*a"):gmatch("[^%z]+") do
    requests[#requests + 1] = request
  end
  file:close()
  math.randomseed(os.time())
  place = math.random(#requests)
end

function request()
  place = place % #requests + 1
  return requests[place]
end

function done(summary)
  local errors = summary.errors
  print(string.format(
    '{"answered": %d, "refused": %d, "broken": %d, "seconds": %.6f}',
    summary.requests - errors.status,
    errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration / 1e6
  ))
end
