//! Bodies: what SIP carries inside its messages, read into owned values and written from them.
