"""The words of the language rules: banned turns, and the verbs that begin a docstring."""

TURNS = (
    r"\banew\b",
    r"\bno more\b(?! than\b)",
    r"\bwho(?:so)?ever\b",
    r"\bwhom(?:ever)?\b",
    r"\btold\b",
    r"\b(?:tell|tells|telling) (?:of|from)\b",
    r"\bbe it\b",
    r"\b(?:is|are|was|were|be) none\b",
    r"\bas good as\b",
    r"\bfor ever\b",
    r"\b(?:some|any|every)body\b",
    r"\b(?:some|any|every|no )one\b(?! of\b)",
    r"\belse's\b",
    r"\b(?:he|him|his|himself|she|her|herself)\b",
    r"\bof (?:no |any |some )?use\b(?! of\b)",
    r"\b(?:two|three|four)fold\b",
    r"\byet to\b",
    r"\b(?:ere|hither|thither|thence|whence|henceforth|therein|wherein|lest|naught|nought)\b",
    r"\b(?:by halves|in vain|never mind|so be it|all there is|only so|to be had|at odds with)\b",
    r"\b(?:is|are|was|were|be|been) (?:let|said|had|heard)\b",
    r"\b(?:say|says|said|saying) (?:so|nothing|of|on)\b",
    r"\b(?:hear|hears|heard) (?:of|from)\b",
    r"\bknow(?:s|n)? nothing\b",
    r"\bon (?:its|his|their) way\b",
    r"\b(?:is|are|be) well\b(?!-| known| formed| below| above| within)",
    r"\b(?:wish|wishes|wished|census|asleep)\b",
    r"(?<!there )\b(?:is|are|was|were) no (?!longer\b|more\b|such\b)(?=[a-z])",
    r"\bsuch (?:is|are)\b",
    r", for (?:it|they|there|he) (?:is|are|was|has|have|can|may|does|do|comes?|would|will)\b",
    r"\b(?:know|knows|knew|say|says|tell|tells|one|those|ask|asks) whose\b",
    r"\b(?:tell|tells|say|says) (?:whether|how|what|which|where|when|why)\b",
    r"\b(?:flocks?|mend(?:s|ed|ing)?|another's|gets? along|for sure|eldest|by now)\b",
    r"\bspoken? of\b",
    r"\b(?:is|are) to have\b",
    r"(?:(?<=^)|(?<=[.!?] )|(?<=[.!?]\n))What (?:are|were|had|[a-z]+s|opted)\b(?![^.]*\?)",
)
"""Regular expressions, compared without regard to case. They have almost no proper use here."""

PERSONS = (
    "administrators?",
    "authors?",
    "contributors?",
    "developers?",
    "maintainers?",
    "operators?",
    "packagers?",
    "people",
    "persons?",
    "readers?",
    "users?",
)
"""Nouns that "who" may follow; a program, unit, container or instance is "it"."""

BANNED = """
Tell Say Have See Note Know Be Let Learn Hear Look Come Go Think Believe Want Wish Bury Become
Judge Spell Whether What Who Where Whose Bring Hang Like
"""
BANNED_VERBS = frozenset(BANNED.split()) | {"Find out", "Take note", "Make sure"}
"""Words that begin no docstring."""

ALLOWED = """
Grant
Abort Accept Acknowledge Acquire Activate Add Adjust Adopt Advance Advertise Aggregate Align
Allocate Allow Announce Answer Append Apply Archive Assemble Assert Assign Assume Attach Await
Backdate Begin Bind Block Boot Bound Browse Build Bump Cache Calculate Call Cancel Cap Capture
Change Check Choose Classify Clean Clear Clip Close Coalesce Collapse Collect Combine Compare
Compile Complete Compress Compute Configure Confirm Connect Consider Construct Consume Continue
Convert Copy Correct Count Create Cut Deactivate Debounce Decide Declare Decline Decode Decrease
Deduplicate Defer Define Delay Delegate Delete Deliver Deny Derive Describe Deserialize Destroy
Detach Detect Determine Diff Disable Disallow Discard Disconnect Discover Dispatch Display Divide
Do Download Drain Draw Drop Dump Elect Emit Empty Emulate Enable Encode End Enforce Enqueue Enter
Enumerate Escape Establish Estimate Evaluate Evict Examine Exchange Exclude Execute Exit Expand
Expect Expire Explain Export Expose Extend Extract Fail Fall Feed Fetch Fill Filter Find Finish
Flatten Flush Fold Follow Forbid Force Forget Format Forward Free Freeze Generate Get Group Guard
Guess Handle Hash Hide Hold Identify Ignore Import Include Increase Increment Index Infer Inform
Inherit Initialize Insert Inspect Install Interpret Interrupt Intersect Introspect Invalidate
Invoke Iterate Join Keep Kill Label Launch Lay Leave Limit Link List Listen Load Locate Lock Log
Lower Make Map Mark Marshal Mask Match Measure Merge Migrate Mirror Mock Modify Monitor Mount Move
Mute Narrow Negotiate Normalize Notify Observe Obtain Omit Open Order Overwrite Pack Pad Page Pair
Parse Partition Pass Patch Pause Perform Permit Ping Place Plan Play Poll Pop Populate Postpone
Prefer Prefix Prepare Prepend Present Preserve Prevent Print Probe Process Produce Prolong Prompt
Propagate Protect Prove Provide Prune Publish Pull Purge Push Query Queue Quote Raise Rank Read
Rebuild Receive Recompute Reconcile Reconnect Record Recover Redirect Reduce Refer Refill Refresh
Refuse Register Reject Release Relist Reload Remember Remove Rename Render Renew Reopen Reorder
Repair Repeat Replace Replay Reply Report Represent Request Require Reread Reschedule Reset Resize
Resolve Respond Restart Restore Restrict Resubscribe Resume Resync Retrieve Retry Return Reuse
Reverse Revert Revoke Rewrite Rotate Round Route Run Sample Save Scan Schedule Search Select Send
Serialize Serve Set Shift Shorten Show Shrink Shut Signal Simulate Skip Sleep Slice Sort Spawn
Split Start Stop Store Stream Strip Submit Subscribe Subtract Sum Summarize Supersede Suppress
Suspend Swap Switch Synchronize Tear Terminate Test Thaw Time Toggle Trace Track Transfer
Transform Translate Traverse Trigger Trim Truncate Try Turn Unblock Undo Unescape Unfold Unfreeze
Uninstall Unlink Unlock Unmarshal Unmount Unpack Unquote Unregister Unsubscribe Unwrap Update
Upgrade Use Validate Verify Visit Wait Wake Walk Warn Watch Withdraw Withhold Wrap Write Yield
"""
VERBS = frozenset(ALLOWED.split())
"""Base forms that may begin a function's docstring; add a technical verb where one is missing."""
