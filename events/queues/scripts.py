# SPDX-License-Identifier: AGPL-3.0-or-later
"""The Lua that runs inside the server: each script is one step, whoever else writes meanwhile.

Only commands of Redis 6.2 are used, and every key is named, so that a cluster can run them where the names share a hash
tag. A script that fails in its middle is not undone by the server: each entry's mark moves right after it.
"""

from typing import Final

# KEYS: stream, marks. ARGV: source, epoch, expected seq, then for each message its seq, how many texts follow, and the
# entry's fields and values. The answer: outcome, how many were appended, the mark as it is then ("" for none), a reason.
# The mark is written as it is before anything is appended: a user who may append and not move the mark is told so here,
# and not after an entry that the next try would append again. Without a mark the next try finds an entry and no mark.
APPEND: Final = """
local mark = redis.call('HGET', KEYS[2], ARGV[1])
local expected, at = tonumber(ARGV[3]), 0
if mark then
  local epoch, seq = string.match(mark, '^(.*):(%d+)$')
  if epoch ~= ARGV[2] then return {'conflict', 0, mark, ''} end
  at = tonumber(seq)
elseif redis.call('XLEN', KEYS[1]) > 0 then
  return {'absent', 0, '', ''}
end
if mark then redis.call('HSET', KEYS[2], ARGV[1], mark) end
local place, appended = 4, 0
while ARGV[place] do
  local own, last = tonumber(ARGV[place]), place + 1 + tonumber(ARGV[place + 1])
  if at >= own then return {'there', appended, mark or '', ''} end
  if at < expected then return {'behind', appended, mark or '', ''} end
  if at > expected then return {'conflict', appended, mark or '', ''} end
  local done = redis.pcall('XADD', KEYS[1], '*', unpack(ARGV, place + 2, last))
  if type(done) == 'table' and done.err then return {'refused', appended, mark or '', done.err} end
  mark = ARGV[2] .. ':' .. ARGV[place]
  redis.call('HSET', KEYS[2], ARGV[1], mark)
  at, expected, appended, place = own, own, appended + 1, last + 1
end
return {'appended', appended, mark or '', ''}
"""

# KEYS: marks. ARGV: source, the mark that must be there, the new one. The answer: 1 if it was set.
TAKE_OVER: Final = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""

# KEYS: stream. ARGV: how many entries to keep, how many to remove at most. The answer: removed, length then, and the
# group that holds the rest ("" where nothing does), or '-' where there is no group at all.
# An id is compared as two decimal numbers of any length: a Lua number would lose the last digits of long ones.
TRIM: Final = """
local function before(a, b)
  local a1, a2 = string.match(a, '^(%d+)-(%d+)$')
  local b1, b2 = string.match(b, '^(%d+)-(%d+)$')
  if #a1 ~= #b1 then return #a1 < #b1 end
  if a1 ~= b1 then return a1 < b1 end
  if #a2 ~= #b2 then return #a2 < #b2 end
  return a2 < b2
end
local length = redis.call('XLEN', KEYS[1])
local excess = length - tonumber(ARGV[1])
if excess <= 0 then return {0, length, ''} end
local bound, holder = nil, '-'
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local name, read
  for i = 1, #group, 2 do
    if group[i] == 'name' then name = group[i + 1] end
    if group[i] == 'last-delivered-id' then read = group[i + 1] end
  end
  local pending = redis.call('XPENDING', KEYS[1], name)
  if pending[1] > 0 and not before(read, pending[2]) then read = pending[2] end
  if not bound or before(read, bound) then bound, holder = read, name end
end
if not bound then return {0, length, holder} end
local count = math.min(excess, tonumber(ARGV[2]))
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', count + 1)
local kept = oldest[#oldest][1]
if before(kept, bound) then bound, holder = kept, '' end
if kept == bound then holder = '' end
local removed = redis.call('XTRIM', KEYS[1], 'MINID', bound)
return {removed, length - removed, holder}
"""
